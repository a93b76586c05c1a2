sde-export --version
