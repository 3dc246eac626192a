package storage

// PackAll makes Pack pack whatever it is given, whether it pays or not.
func PackAll(b *Blobs) { b.packAll = true }
