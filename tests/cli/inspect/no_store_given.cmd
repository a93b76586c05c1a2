sde-inspect --json 2>&1
