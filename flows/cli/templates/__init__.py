"""Files that `keyhole new` copies: a world, a method and a limit of the overseer, each with its test."""
