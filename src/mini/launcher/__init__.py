"""The Hydra launcher: configs in, jobs out. Hydra's own plugin, `hydra_plugins.mini_launcher`, is the door to it."""
