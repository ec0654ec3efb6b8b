"""Networks of every common architecture, their exports, and how far gradients taken from the exports are off."""
