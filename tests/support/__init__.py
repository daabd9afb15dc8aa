"""What tests share: data files, made-up models, runs in several processes."""
