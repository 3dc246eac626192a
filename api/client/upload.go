package client

import (
	"io"
)

// upload is a body that is streamed.
type upload struct {
	r io.Reader
	// size is -1 if it is not known, start is where a seekable one began.
	size, start int64
	read        bool
}

func newUpload(r io.Reader) *upload {
	u := &upload{r: r, size: -1}
	if s, ok := r.(io.Seeker); ok {
		start, err := s.Seek(0, io.SeekCurrent)
		end, err2 := s.Seek(0, io.SeekEnd)
		if _, err3 := s.Seek(start, io.SeekStart); err == nil && err2 == nil && err3 == nil {
			u.start, u.size = start, end-start
		}
	}

	return u
}

// Read reads on.
func (u *upload) Read(p []byte) (int, error) {
	u.read = true
	return u.r.Read(p)
}

// rewind makes the upload ready to be sent again; false if that cannot be.
func (u *upload) rewind() bool {
	if !u.read {
		return true
	}

	s, ok := u.r.(io.Seeker)
	if !ok || u.size < 0 {
		return false
	}

	_, err := s.Seek(u.start, io.SeekStart)
	return err == nil
}
