package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"sync"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/safetext"
	"github.com/pipelined/pipelined/storage/blob"
)

// notice writes what the command of a notification is about into the attempt's
// directory, with the last lines of the modules that failed. Output that cannot be read
// is no error: the notification says so.
func (d *directories) notice(ctx context.Context, a *attempt) error {
	if a.spec.Notice == nil {
		return nil
	}

	out := *a.spec.Notice
	out.Failed = slices.Clone(out.Failed)
	var reads sync.WaitGroup // at once: each may wait for fetchLimit
	for i := range out.Failed {
		reads.Go(func() { d.addLines(ctx, &out.Failed[i]) })
	}
	reads.Wait()

	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	err := enc.Encode(out)
	if err == nil {
		err = os.WriteFile(a.dir.Notice(), b.Bytes(), 0o600)
	}
	if err != nil {
		return fmt.Errorf("write what the notification is about: %w", err)
	}
	return nil
}

// addLines adds the last lines of a module's output, or why there are none.
func (d *directories) addLines(ctx context.Context, f *pipeline.FailedModule) {
	if f.Log != "" {
		var err error
		if f.Lines, err = d.lastLines(ctx, f); err != nil {
			f.Note = "its output cannot be read: " + err.Error()
		}
	}
	f.Log, f.LogSize, f.Holders = "", 0, nil
}

// lastLines reads the last lines of a module's output, on whichever node it is.
func (d *directories) lastLines(ctx context.Context, f *pipeline.FailedModule) ([]string, error) {
	if err := d.fetcher.need(ctx, f.Holders, []pipeline.Digest{f.Log}); err != nil {
		return nil, err
	}
	r, err := d.fetcher.blobs.Open(f.Log)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	text, err := blob.OpenLog(r, f.LogSize)
	if err != nil {
		return nil, err
	}
	return safetext.LastLines(text, f.LogSize, pipeline.MaxNoticeLines, pipeline.MaxNoticeLineBytes)
}
