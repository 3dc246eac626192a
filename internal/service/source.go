package service

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// The state keeps what a schedule was registered with, so that its pipeline can be
// compiled again with other variables. It is sealed: it holds the values of sensitive
// variables and what env_from took.

// sealSource seals a submission under the name of its pipeline.
func (v *Vault) sealSource(name string, in *wire.SubmitRequest) ([]byte, error) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if err := json.NewEncoder(w).Encode(in); err != nil {
		return nil, fmt.Errorf("encode the source of pipeline %s: %w", name, err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("compress the source of pipeline %s: %w", name, err)
	}
	return v.keys.Seal(sealSource+name, b.Bytes()), nil
}

// openSource gives what sealSource sealed.
func (v *Vault) openSource(name string, sealed []byte) (in wire.SubmitRequest, err error) {
	raw, err := v.keys.Open(sealSource+name, sealed)
	if err != nil {
		return in, fmt.Errorf("open the source of pipeline %s: %w", name, err)
	}
	r, err := gzip.NewReader(bytes.NewReader(raw))
	if err == nil {
		raw, err = io.ReadAll(r)
	}
	if err == nil {
		err = json.Unmarshal(raw, &in)
	}
	if err != nil {
		return in, fmt.Errorf("decode the source of pipeline %s: %w", name, err)
	}
	return in, nil
}

// registered gives the record of a schedule and what it was registered with.
func (s *Schedules) registered(name string) (rec fsm.ScheduleRecord, in wire.SubmitRequest, err error) {
	var sealed []byte
	err = s.state.View(func(v *fsm.View) error {
		var ok bool
		if rec, ok = v.Schedule(name); !ok {
			return noSchedule(v, name)
		}
		sealed = v.ScheduleSource(name)
		return nil
	})
	if err != nil {
		return rec, in, err
	}
	if in, err = s.vault.openSource(name, sealed); err != nil {
		err = pipeline.Errorf(pipeline.Internal, "%w", err)
	}
	return rec, in, err
}
