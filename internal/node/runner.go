package node

import (
	"context"
	"fmt"
	"runtime"

	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/internal/worker"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

// openRunner finds or starts the keeper; `pipelined run` needs none.
func openRunner(ctx context.Context, cfg *Config, dir *storage.DataDir) (executor.Runner, error) {
	c := executor.Config{DataDir: dir.KeeperDir(), Executable: cfg.Executable, Logger: cfg.Logger.Named("keeper")}
	if cfg.Embedded {
		r, err := executor.NewLocal(c)
		if err != nil {
			return nil, fmt.Errorf("open executor: %w", err)
		}
		return r, nil
	}
	r, err := executor.Connect(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("connect to the keeper: %w", err)
	}
	return r, nil
}

// capabilities are what this machine offers to modules.
func capabilities(cfg *Config) pipeline.Capabilities {
	tags := cfg.Tags
	if tags == nil {
		tags = []string{}
	}
	return pipeline.Capabilities{OS: runtime.GOOS, Arch: runtime.GOARCH, InstalledTools: worker.FindTools(), MaxParallelModules: cfg.Slots, Tags: tags,
		CPU: cfg.CPU, Memory: cfg.Memory}
}
