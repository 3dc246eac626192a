// Package container runs modules in containers of Docker or Podman, through the
// API that both serve on a unix socket.
//
// The runner knows nothing of containers. What it starts for such a module is
// this program again, with the hidden command Command: it makes the container,
// copies its output, passes TERM on and exits with its exit code. So limits of
// time, masking, adoption by a later daemon and the end of a lease are those of
// any process. What ends without a chance to clean up leaves a container behind:
// executor.Process.Cleanup, the same command, removes it before the exit is
// reported. Containers carry the node and the attempt as labels, so that a daemon
// finds those of a keeper that was killed.
//
// What a process cannot say by its exit code goes into a report file
// (ReadReport), which the daemon reads with the outputs.
package container
