"""Commands that measure: success rates, speed, videos; every published number comes from one of them."""
