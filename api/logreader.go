package api

import (
	"context"
	"errors"
	"io"

	"github.com/pipelined/pipelined/pipeline"
)

// logReader makes what Logs.Log gives seekable, by opening it again. The first
// opening fixes the attempt, so that a body has bytes of one attempt only.
type logReader struct {
	ctx     context.Context // of the request that the reader lives in
	logs    Logs
	id      pipeline.RunID
	module  string
	attempt int
	info    LogInfo
	r       io.ReadCloser
	// at is the offset of r, pos that of the next Read.
	at, pos int64
}

func (l *logReader) open(offset int64) error {
	r, info, err := l.logs.Log(l.ctx, l.id, l.module, l.attempt, offset)
	if err != nil {
		return err
	}

	if l.attempt = info.Attempt; l.info.Attempt == 0 {
		l.info = info
	}
	l.r, l.at, l.pos = r, offset, offset
	return nil
}

// Read reads at pos, up to the size that was found first.
func (l *logReader) Read(p []byte) (int, error) {
	if l.pos >= l.info.Size {
		return 0, io.EOF
	}

	if l.r == nil || l.at != l.pos {
		l.Close()
		if err := l.open(l.pos); err != nil {
			return 0, err
		}
	}

	n, err := l.r.Read(p[:min(int64(len(p)), l.info.Size-l.pos)])
	l.at += int64(n)
	l.pos += int64(n)
	if errors.Is(err, io.EOF) && l.pos < l.info.Size {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Close closes what is open.
func (l *logReader) Close() {
	if l.r != nil {
		_ = l.r.Close() // nothing was written
		l.r = nil
	}
}

func (l *logReader) seek(pos int64) { l.pos = pos }

// section is a part of a log: size bytes from base on.
type section struct {
	r          *logReader
	base, size int64
	pos        int64
}

func (s *section) Read(p []byte) (int, error) {
	if s.pos >= s.size {
		return 0, io.EOF
	}

	s.r.seek(s.base + s.pos)
	n, err := s.r.Read(p[:min(int64(len(p)), s.size-s.pos)])
	s.pos += int64(n)
	return n, err
}

// Seek moves within the section.
func (s *section) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += s.pos
	case io.SeekEnd:
		offset += s.size
	}

	if offset < 0 {
		return 0, errors.New("seek in a log: before its start")
	}
	s.pos = offset
	return offset, nil
}
