package worker

import (
	"context"
	"fmt"

	"github.com/pipelined/pipelined/internal/testreport"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/mask"
	"github.com/pipelined/pipelined/storage/layout"
)

const (
	// maxReport bounds one report of tests, maxReports all of an attempt, in bytes, and
	// maxReportFiles their number.
	maxReport      = 16 << 20
	maxReports     = 64 << 20
	maxReportFiles = 1000
)

// captureTests reads the reports of tests, whether the attempt succeeded or failed. What
// cannot be read is a warning: it changes nothing of how the attempt ended. All tests go
// into a blob, a summary into the outcome.
func (c *capturer) captureTests(ctx context.Context, a *attempt, got *captured) {
	o, globs := got.outcome, a.spec.Reports.JUnit
	if len(globs) == 0 || o.State != pipeline.AttemptSucceeded && o.State != pipeline.AttemptFailed && o.State != pipeline.AttemptTimedOut {
		return
	}

	var set testreport.Set
	switch {
	case a.spec.Sealed:
		// The secrets that the module had are gone with the daemon that started it.
		set.Warn("reports", "not read: this node was restarted while the module ran, and does not know its secrets any more to mask them")
	case got.addedLost:
		set.Warn("reports", "not read: the keeper died, and with it what the module masked by "+mask.Command)
	default:
		c.readReports(ctx, a, got.added, &set, o.State == pipeline.AttemptSucceeded)
	}
	if set.Empty() {
		if o.State != pipeline.AttemptSucceeded {
			return // it came to no report
		}
		set.Warn("reports", "no file matches "+pipeline.SomeNames(globs))
	}

	o.Tests = set.Summary()
	data, err := set.Encode()
	if err == nil && data != nil {
		err = patiently(ctx, func() (err error) {
			o.Tests.Cases, err = c.blobs.PutBytes(ctx, data)
			return err
		})
	}
	switch {
	case err != nil:
		o.Tests.Cases = ""
		o.Tests.Warnings = append(o.Tests.Warnings, "the list of all tests could not be stored: "+err.Error())
	case data != nil:
		o.Tests.Size = int64(len(data))
		got.blobs = append(got.blobs, o.Tests.Cases)
	}
}

// readReports reads the reports, and hides the values of added too.
func (c *capturer) readReports(ctx context.Context, a *attempt, added []string, set *testreport.Set, succeeded bool) {
	var hide func([]byte) []byte
	if values := append(masked(&a.spec, c.passThrough), added...); len(values) > 0 {
		hide = mask.New(values).Bytes
	}

	err := c.restore(a)
	files, total := 0, 0
	if err == nil {
		err = layout.ReadFiles(ctx, a.dir.Work(), a.spec.Reports.JUnit, ".xml", maxReport, func(name string, data []byte, err error) bool {
			files++
			total += len(data)
			switch {
			case files > maxReportFiles || total > maxReports:
				set.Warn(name, fmt.Sprintf("not read, as all that follow: the reports of an attempt are at most %d files and %d MiB", maxReportFiles, maxReports>>20))
				return false
			case err != nil:
				set.Warn(name, err.Error())
			default:
				set.Read(name, data, hide, succeeded)
			}
			return true
		})
	}
	if err != nil && ctx.Err() == nil {
		set.Warn("reports", err.Error())
	}
}
