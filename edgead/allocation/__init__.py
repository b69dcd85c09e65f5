"""Which stages, channels and sizes of a RealNet fit the limits of a device and detect most."""
