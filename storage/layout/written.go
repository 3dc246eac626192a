package layout

import (
	"context"
	"os"

	"github.com/pipelined/pipelined/storage/tree"
)

// writtenLimit bounds how many names Written looks at.
const writtenLimit = 100_000

// Written lists the first regular files that were made or changed in a directory since
// trees were laid out there, those with the shortest paths first; more reports that
// there are others. It goes by the times of files, which are all Time after the layout,
// so a copy that keeps the time of such a file is not found. What cannot be read is left
// out.
func Written(ctx context.Context, dir string, most int) (paths []string, more bool) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, false
	}
	defer root.Close()
	c, seen := &capture{root: root}, 0
	for level := []string{"."}; len(level) > 0; {
		var below []string
		for _, d := range level {
			names, err := c.list(d)
			if err != nil {
				continue
			}
			for _, n := range names {
				p := n.Name()
				if d != "." {
					p = d + "/" + p
				}
				if seen++; seen >= writtenLimit || ctx.Err() != nil {
					return paths, true
				}
				if n.IsDir() {
					below = append(below, p)
					continue
				}
				if info, err := n.Info(); err != nil || !info.Mode().IsRegular() || info.ModTime().Equal(Time()) || tree.CheckPath(p) != "" {
					continue
				}
				if len(paths) == most {
					return paths, true
				}
				paths = append(paths, p)
			}
		}
		level = below
	}
	return paths, false
}
