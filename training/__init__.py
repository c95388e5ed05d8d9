"""Headless scripts that train the autoencoder and the latent GAN and write bundles."""
