sde-inspect --help
