package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/google/renameio/v2"
	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/internal/backup"
	"github.com/pipelined/pipelined/internal/tempdir"
	"github.com/pipelined/pipelined/pipeline"
)

// snapshotCommand is `pipelined snapshot`.
type snapshotCommand struct{ env *environment }

func (c snapshotCommand) command() *cli.Command {
	return &cli.Command{
		Name: "snapshot", Usage: "saves, restores and inspects backups of the state", ArgsUsage: "save, restore or inspect",
		Action: noCommand,
		Commands: []*cli.Command{
			{
				Name: "save", Usage: "saves the state of the cluster to a file", ArgsUsage: "FILE",
				Description: "The file is consistent, and it is read back before the command succeeds. It has runs, results, schedules, cached results, tokens (as hashes) and secrets (sealed with the cluster key, which is not in it). Logs, artifacts and workspaces come along with -blobs only.",
				Flags: []cli.Flag{
					&cli.BoolFlag{Name: "blobs", Usage: "add logs, artifacts, workspaces and cached files", HideDefault: true, Local: true},
					jsonFlag(),
				},
				Action: c.env.action(1, 1, c.save),
			},
			{
				Name: "restore", Usage: "restores a file into a new cluster", ArgsUsage: "FILE",
				Description: "The cluster must be empty and use the same cluster key. It keeps its own id, so that nodes of the old cluster cannot join it. Attempts that ran when the file was saved become lost within seconds, and are repeated unless their module says otherwise.",
				Flags:       []cli.Flag{jsonFlag()},
				Action:      c.env.action(1, 1, c.restore),
			},
			{
				Name: "inspect", Usage: "verifies a file and shows what it holds", ArgsUsage: "FILE", Flags: []cli.Flag{jsonFlag()},
				Action: c.env.action(1, 1, c.inspect),
			},
		},
	}
}

// withTemp calls f with a temporary directory.
func withTemp(f func(dir string) error) error {
	dir, err := tempdir.Make("", "snapshot")
	if err != nil {
		return wrap("create a temporary directory", err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // temporary; nothing depends on it
	return f(dir)
}

func (c snapshotCommand) save(ctx context.Context, cmd *cli.Command) error {
	path := cmd.Args().First()
	api, err := c.env.connectCluster(ctx, "snapshot save")
	if err != nil {
		return err
	}

	return withTemp(func(dir string) error {
		f, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithStaticPermissions(0o600))
		if err != nil {
			var cause *fs.PathError
			if errors.As(err, &cause) {
				err = cause.Err // the name is that of the temporary file
			}
			return usagef("cannot write %s: %w", path, err)
		}
		defer func() { _ = f.Cleanup() }() // does nothing after the rename

		if err := c.fetch(ctx, api, f.File, dir, cmd.Bool("blobs")); err != nil {
			return wrap("save the snapshot", err)
		}
		s, err := c.verify(ctx, f.File, dir)
		if err != nil {
			return wrap("read the snapshot back", err)
		}
		if err := f.CloseAtomicallyReplace(); err != nil {
			return wrap("save the snapshot", err)
		}

		if cmd.Bool("json") {
			return c.env.printJSON(s)
		}
		c.env.tell("saved %s: %s, verified", path, contentsText(s))
		if s.Missing > 0 {
			c.env.tell("warning: %d files are on no node any more and are not in it", s.Missing)
		}
		return nil
	})
}

// fetch writes the cluster's snapshot into a file.
func (c snapshotCommand) fetch(ctx context.Context, api *client.Client, f *os.File, dir string, blobs bool) error {
	in, err := api.Cluster().SaveSnapshot(ctx)
	if err != nil {
		return err
	}
	defer in.Close()
	if !blobs {
		_, err := io.Copy(f, in)
		return err
	}

	state, err := os.CreateTemp(dir, "state-*")
	if err != nil {
		return err
	}
	defer state.Close()
	if _, err := io.Copy(state, in); err != nil {
		return err
	}
	if _, err := state.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return backup.AddBlobs(ctx, f, state, dir, api.Blobs())
}

// verify reads a file from its beginning.
func (c snapshotCommand) verify(ctx context.Context, f *os.File, dir string) (backup.Summary, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return backup.Summary{}, err
	}
	return backup.Verify(ctx, f, dir)
}

func (c snapshotCommand) inspect(ctx context.Context, cmd *cli.Command) error {
	return c.opened(cmd, func(f *os.File, dir string) error {
		s, err := c.verify(ctx, f, dir)
		if err != nil {
			return wrap(f.Name(), err)
		}
		if cmd.Bool("json") {
			return c.env.printJSON(s)
		}
		for _, line := range [][2]string{
			{"cluster", s.ClusterID}, {"key", s.Key}, {"taken", s.TakenAt.Format(time.RFC3339)}, {"version", s.Version},
			{"index", fmt.Sprintf("%d (term %d)", s.Index, s.Term)}, {"state", humanize.IBytes(uint64(s.StateSize))},
			{"runs", fmt.Sprintf("%d, %d of them active", s.Runs, s.Active)}, {"schedules", fmt.Sprint(s.Schedules)},
			{"secrets", fmt.Sprintf("%d, sealed", s.Secrets)}, {"tokens", fmt.Sprint(s.Tokens)}, {"cached", fmt.Sprintf("%d results", s.Cached)},
			{"files", filesText(s)},
		} {
			fmt.Fprintf(c.env.stdout, "%-10s %s\n", line[0], line[1])
		}
		return nil
	})
}

// opened calls f with the file of the command line and a temporary directory.
func (c snapshotCommand) opened(cmd *cli.Command, f func(file *os.File, dir string) error) error {
	file, err := os.Open(cmd.Args().First())
	if err != nil {
		return usagef("open the snapshot: %w", fileError(err))
	}
	defer file.Close()
	return withTemp(func(dir string) error { return f(file, dir) })
}

func filesText(s backup.Summary) string {
	if !s.WithBlobs {
		return "none (saved without -blobs)"
	}
	text := fmt.Sprintf("%d, %s", s.Blobs, humanize.IBytes(uint64(s.BlobBytes)))
	if s.Missing > 0 {
		text += fmt.Sprintf("; %d were on no node", s.Missing)
	}
	return text
}

func contentsText(s backup.Summary) string {
	text := fmt.Sprintf("%s, %s, %s", numberOf(s.Runs, "run"), numberOf(s.Schedules, "schedule"), numberOf(s.Secrets, "secret"))
	if s.WithBlobs {
		text += fmt.Sprintf(", %s (%s)", numberOf(s.Blobs, "file"), humanize.IBytes(uint64(s.BlobBytes)))
	}
	return text
}

func (c snapshotCommand) restore(ctx context.Context, cmd *cli.Command) error {
	return c.opened(cmd, func(f *os.File, dir string) error {
		s, err := c.verify(ctx, f, dir)
		if err != nil {
			return wrap(f.Name(), err)
		}
		api, err := c.env.connectCluster(ctx, "snapshot restore")
		if err != nil {
			return err
		}

		// Everything goes to one node; the others get their copies from it.
		if api, err = api.At(api.Address()); err != nil {
			return err
		}
		digest, err := c.upload(ctx, api, f, dir)
		if err != nil {
			return wrap("upload the snapshot", err)
		}
		out, err := api.Cluster().RestoreSnapshot(ctx, digest)
		if err != nil {
			return wrap("restore the snapshot", err)
		}

		// What nothing named yet may have been swept in a long upload.
		if err := c.uploadBlobs(ctx, api, f); err != nil {
			return wrap("the state is restored, but not all files: upload them", err)
		}
		if cmd.Bool("json") {
			return c.env.printJSON(out)
		}
		c.env.tell("restored %s into cluster %s", contentsText(s), out.ClusterID)
		if out.Active > 0 {
			c.env.tell("%s active when it was saved: attempts become lost within seconds, and are repeated", numberOf(out.Active, "run"))
		}
		if !s.WithBlobs {
			c.env.tell("warning: the file has no logs, artifacts or workspaces: what needs them fails")
		}
		return nil
	})
}

// upload stores the blobs of a file, and then the file without its blobs as one.
func (c snapshotCommand) upload(ctx context.Context, api *client.Client, f *os.File, dir string) (pipeline.Digest, error) {
	if err := c.uploadBlobs(ctx, api, f); err != nil {
		return "", err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", err
	}

	state, err := os.CreateTemp(dir, "state-*")
	if err != nil {
		return "", err
	}
	defer state.Close()
	sum := sha256.New()
	w, err := backup.Extend(io.MultiWriter(state, sum), f)
	if err == nil {
		err = w.Close()
	}
	if err == nil {
		_, err = state.Seek(0, io.SeekStart)
	}
	if err != nil {
		return "", err
	}
	d := pipeline.Digest(hex.EncodeToString(sum.Sum(nil)))
	return d, api.Blobs().Put(ctx, d, state)
}

// uploadBatch is how many blobs one question is about.
const uploadBatch = 1000

// uploadBlobs stores those blobs of a file that the node is missing.
func (c snapshotCommand) uploadBlobs(ctx context.Context, api *client.Client, f *os.File) error {
	batch := map[pipeline.Digest]*io.SectionReader{}
	flush := func() error {
		var list []pipeline.Digest
		for d := range batch {
			list = append(list, d)
		}
		missing, err := api.Blobs().Missing(ctx, list)
		if err != nil {
			return err
		}
		for _, d := range missing {
			if err := api.Blobs().Put(ctx, d, batch[d]); err != nil {
				return err
			}
		}
		clear(batch)
		return nil
	}

	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	err := backup.EachBlob(f, func(d pipeline.Digest, content *io.SectionReader) error {
		if batch[d] = content; len(batch) < uploadBatch {
			return nil
		}
		return flush()
	})
	if err != nil || len(batch) == 0 {
		return err
	}
	return flush()
}
