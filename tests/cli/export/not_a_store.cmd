mkdir d
sde-export d o.npz
