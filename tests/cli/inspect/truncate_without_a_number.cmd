sde-inspect --repair --truncate
