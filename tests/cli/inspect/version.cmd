sde-inspect --version
