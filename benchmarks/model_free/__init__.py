"""Objects made from reference views, against the meshes that the views were drawn from."""
