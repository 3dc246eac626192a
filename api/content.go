package api

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// maxRanges is how many ranges one request may ask for.
const maxRanges = 8

// serveContent answers with bytes: whole, in ranges, or not at all if the caller
// has them (If-None-Match). etag is their digest; "" if they may still grow. The
// content type must be set.
func (c *call) serveContent(content io.ReadSeeker, size int64, etag pipeline.Digest) error {
	h := c.w.Header()
	h.Set("Accept-Ranges", "bytes")
	if err := checkRanges(c.r.Header.Values("Range"), size, c.r.Header.Get("If-Range") != ""); err != nil {
		h.Set("Content-Range", fmt.Sprintf("bytes */%d", size))
		return err
	}

	if size == 0 {
		c.r.Header.Del("Range") // there is no range of an empty file
	}
	if etag != "" {
		h.Set("Etag", `"`+string(etag)+`"`)
		h.Set("Cache-Control", "private, max-age=31536000, immutable")
	} else {
		h.Set("Cache-Control", "no-store")
	}

	// A browser must not run what a module wrote as a page of this node.
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	http.ServeContent(c.w, c.r, "", time.Time{}, content)
	return nil
}

// checkRanges refuses ranges that are malformed, too many, or outside.
func checkRanges(values []string, size int64, conditional bool) error {
	if len(values) == 0 {
		return nil
	}

	bad := func(format string, args ...any) error {
		return withStatus(http.StatusRequestedRangeNotSatisfiable, pipeline.Invalid, "Range: "+format, args...)
	}

	list, ok := strings.CutPrefix(values[0], "bytes=")
	if len(values) > 1 || !ok {
		return bad("expected one header of the form bytes=FROM-TO")
	}
	if strings.Count(list, ",") >= maxRanges {
		return bad("expected at most %d ranges", maxRanges)
	}

	inside := size == 0 || conditional
	for item := range strings.SplitSeq(list, ",") {
		from, to, ok := strings.Cut(strings.TrimSpace(item), "-")
		a, errA := strconv.ParseUint(from, 10, 63)
		b, errB := strconv.ParseUint(to, 10, 63)
		switch {
		case !ok, from == "" && errB != nil, from != "" && errA != nil, from != "" && to != "" && (errB != nil || b < a):
			return bad("%.40q: expected FROM-TO, FROM- or -LAST", strings.TrimSpace(item))
		case from == "":
			inside = inside || b > 0
		case int64(a) < size:
			inside = true
		}
	}

	if !inside {
		return bad("outside: there are %d bytes", size)
	}
	return nil
}
