"""What the bars that are missed are made of (docs/floors.md): no bars here, only measurements. `bin/bench floors`."""
