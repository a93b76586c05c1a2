sde-export --force 2>&1
