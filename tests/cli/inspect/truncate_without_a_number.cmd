sde-inspect --repair --truncate 2>&1
