sde-export --help
