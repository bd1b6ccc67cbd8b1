"""An object from posed RGB-D views: poses refined with a signed distance field, its surface, and a texture."""
