package main

import (
	"runtime/debug"
	"testing"
)

// TestBuildInfo: what a release stamps takes precedence, and what Go recorded of another
// build is shown as far as it goes.
func TestBuildInfo(t *testing.T) {
	const hash = "c1e3f69abcde0123456789abcdef0123456789ab"
	vcs := []debug.BuildSetting{{Key: "vcs.revision", Value: hash}, {Key: "vcs.time", Value: "2026-11-29T18:53:11Z"}, {Key: "vcs.modified", Value: "true"}}

	for _, c := range []struct {
		name, recorded string
		stamped        buildInfo
		settings       []debug.BuildSetting
		want           buildInfo
		release        string
	}{
		{name: "a release", recorded: "(devel)", stamped: buildInfo{Version: "1.2.3", Commit: hash, Time: "2026-11-29T18:53:11Z"},
			want: buildInfo{Version: "1.2.3", Commit: hash, Time: "2026-11-29T18:53:11Z"}, release: "1.2.3+c1e3f69abcde"},
		{name: "a release of changes", recorded: "(devel)", stamped: buildInfo{Version: "1.2.3+dirty", Commit: hash},
			want: buildInfo{Version: "1.2.3+dirty", Commit: hash, Modified: true}, release: "1.2.3+dirty.c1e3f69abcde"},
		{name: "go install of a tag", recorded: "v1.2.3", want: buildInfo{Version: "1.2.3"}, release: "1.2.3"},
		{name: "go install of a commit", recorded: "v1.2.4-0.20261129185311-c1e3f69abcde",
			want:    buildInfo{Version: "1.2.4-0.20261129185311-c1e3f69abcde", Commit: "c1e3f69abcde", Time: "2026-11-29T18:53:11Z"},
			release: "1.2.4-0.20261129185311-c1e3f69abcde"},
		{name: "go build in a working tree", recorded: "v0.0.0-20261129185311-c1e3f69abcde+dirty", settings: vcs,
			want:    buildInfo{Version: "0.0.0-20261129185311-c1e3f69abcde+dirty", Commit: hash, Time: "2026-11-29T18:53:11Z", Modified: true},
			release: "0.0.0-20261129185311-c1e3f69abcde+dirty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := c.stamped
			got.complete(&debug.BuildInfo{Main: debug.Module{Version: c.recorded}, Settings: c.settings})
			if got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}

			if got.release() != c.release {
				t.Errorf("release: got %s, want %s", got.release(), c.release)
			}
		})
	}
}
