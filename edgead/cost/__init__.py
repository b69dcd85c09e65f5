"""What a network costs on a device: latency, memory and file size, predicted before it is trained."""
