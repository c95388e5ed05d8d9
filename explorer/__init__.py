"""What the app and the training scripts share: networks, bundles, latent operations, pictures."""
