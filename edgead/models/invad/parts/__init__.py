"""The networks that an InvAD is built from."""
