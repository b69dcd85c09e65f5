"""What a RealNet costs on a device, predicted before it is trained, and the channels that fit a budget."""
