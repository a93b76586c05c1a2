echo text >file; sde-inspect --json file | sed "s/\"number\": -[0-9]*/\"number\": NUMBER/; s/\"code\": \"[A-Z_]*\"/\"code\": CODE/"; sde-inspect file
