"""One evaluation for every policy: frozen episodes in, one row an episode out."""
