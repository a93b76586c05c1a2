mkdir d; sde-inspect d
