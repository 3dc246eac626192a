package pipeline_test

import (
	"testing"

	"github.com/pipelined/pipelined/pipeline"
)

func TestResources_String(t *testing.T) {
	for _, tc := range []struct {
		in   pipeline.Resources
		want string
	}{
		{pipeline.Resources{}, ""},
		{pipeline.Resources{CPU: 1}, "1 processor"},
		{pipeline.Resources{CPU: 0.25}, "0.25 processors"},
		{pipeline.Resources{Memory: 1 << 30}, "1 GiB of memory"},
		{pipeline.Resources{CPU: 2, Memory: 25_276_026_880}, "2 processors and 23.5 GiB of memory"},
		{pipeline.Resources{Memory: 1023}, "1023 B of memory"},
		{pipeline.Resources{Memory: 1<<30 - 1}, "1023.9 MiB of memory"},
		{pipeline.Resources{Memory: 1 << 62}, "4096 PiB of memory"},
	} {
		if got := tc.in.String(); got != tc.want {
			t.Errorf("%+v: %q, want %q", tc.in, got, tc.want)
		}
	}
}
