package apitest

import (
	"context"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
)

// Cluster is an api.Cluster made of functions.
type Cluster struct {
	HealthFunc  func(context.Context) wire.Health
	MembersFunc func(context.Context) (wire.MemberList, error)
	NodesFunc   func(context.Context) (wire.NodeReports, error)
	RunningFunc func(context.Context, string) (wire.RunningList, error)
	RaftFunc    func(context.Context) (wire.RaftInfo, error)
	DrainFunc   func(context.Context, api.Subject, string, wire.DrainRequest) error
	RemoveFunc  func(context.Context, api.Subject, string) error
	LeaveFunc   func(context.Context, api.Subject) error
}

// Health calls its function; without one the node is a healthy leader.
func (f *Cluster) Health(ctx context.Context) wire.Health {
	if f.HealthFunc == nil {
		return wire.Health{Status: "healthy", Node: "n1", Leader: "n1", Role: "leader", Quorum: true}
	}

	return f.HealthFunc(ctx)
}

// Members calls MembersFunc.
func (f *Cluster) Members(ctx context.Context) (wire.MemberList, error) {
	if f.MembersFunc == nil {
		return wire.MemberList{}, unset("Members")
	}

	return f.MembersFunc(ctx)
}

// Nodes calls NodesFunc.
func (f *Cluster) Nodes(ctx context.Context) (wire.NodeReports, error) {
	if f.NodesFunc == nil {
		return wire.NodeReports{}, unset("Nodes")
	}

	return f.NodesFunc(ctx)
}

// Running calls RunningFunc.
func (f *Cluster) Running(ctx context.Context, node string) (wire.RunningList, error) {
	if f.RunningFunc == nil {
		return wire.RunningList{}, unset("Running")
	}

	return f.RunningFunc(ctx, node)
}

// Raft calls RaftFunc.
func (f *Cluster) Raft(ctx context.Context) (wire.RaftInfo, error) {
	if f.RaftFunc == nil {
		return wire.RaftInfo{}, unset("Raft")
	}

	return f.RaftFunc(ctx)
}

// Drain calls DrainFunc.
func (f *Cluster) Drain(ctx context.Context, by api.Subject, node string, in wire.DrainRequest) error {
	if f.DrainFunc == nil {
		return unset("Drain")
	}

	return f.DrainFunc(ctx, by, node, in)
}

// Remove calls RemoveFunc.
func (f *Cluster) Remove(ctx context.Context, by api.Subject, node string) error {
	if f.RemoveFunc == nil {
		return unset("Remove")
	}

	return f.RemoveFunc(ctx, by, node)
}

// Leave calls LeaveFunc.
func (f *Cluster) Leave(ctx context.Context, by api.Subject) error {
	if f.LeaveFunc == nil {
		return unset("Leave")
	}

	return f.LeaveFunc(ctx, by)
}

// Executions is an api.Executions made of functions.
type Executions struct {
	ExecuteFunc         func(context.Context, api.Subject, wire.ExecuteRequest, bool) (wire.ExecuteResponse, bool, error)
	CancelExecutionFunc func(context.Context, api.Subject, wire.CancelExecution) error
}

// Execute calls ExecuteFunc.
func (f *Executions) Execute(ctx context.Context, by api.Subject, in wire.ExecuteRequest, async bool) (wire.ExecuteResponse, bool, error) {
	if f.ExecuteFunc == nil {
		return wire.ExecuteResponse{}, false, unset("Execute")
	}

	return f.ExecuteFunc(ctx, by, in, async)
}

// CancelExecution calls CancelExecutionFunc.
func (f *Executions) CancelExecution(ctx context.Context, by api.Subject, in wire.CancelExecution) error {
	if f.CancelExecutionFunc == nil {
		return unset("CancelExecution")
	}

	return f.CancelExecutionFunc(ctx, by, in)
}

// Workers is an api.Workers made of functions.
type Workers struct {
	RegisterFunc     func(context.Context, api.Subject, wire.RegisterRequest) (wire.RegisterResponse, error)
	HeartbeatFunc    func(context.Context, api.Subject, wire.HeartbeatRequest) (wire.HeartbeatResponse, error)
	ResultFunc       func(context.Context, api.Subject, wire.ExecuteResponse) (wire.ResultResponse, error)
	WorkersFunc      func(context.Context) (wire.WorkerList, error)
	ForgetWorkerFunc func(context.Context, api.Subject, string) error
}

// Register calls RegisterFunc.
func (f *Workers) Register(ctx context.Context, by api.Subject, in wire.RegisterRequest) (wire.RegisterResponse, error) {
	if f.RegisterFunc == nil {
		return wire.RegisterResponse{}, unset("Register")
	}

	return f.RegisterFunc(ctx, by, in)
}

// Heartbeat calls HeartbeatFunc.
func (f *Workers) Heartbeat(ctx context.Context, by api.Subject, in wire.HeartbeatRequest) (wire.HeartbeatResponse, error) {
	if f.HeartbeatFunc == nil {
		return wire.HeartbeatResponse{}, unset("Heartbeat")
	}

	return f.HeartbeatFunc(ctx, by, in)
}

// Result calls ResultFunc.
func (f *Workers) Result(ctx context.Context, by api.Subject, in wire.ExecuteResponse) (wire.ResultResponse, error) {
	if f.ResultFunc == nil {
		return wire.ResultResponse{}, unset("Result")
	}

	return f.ResultFunc(ctx, by, in)
}

// Workers calls WorkersFunc.
func (f *Workers) Workers(ctx context.Context) (wire.WorkerList, error) {
	if f.WorkersFunc == nil {
		return wire.WorkerList{}, unset("Workers")
	}

	return f.WorkersFunc(ctx)
}

// ForgetWorker calls ForgetWorkerFunc.
func (f *Workers) ForgetWorker(ctx context.Context, by api.Subject, id string) error {
	if f.ForgetWorkerFunc == nil {
		return unset("ForgetWorker")
	}

	return f.ForgetWorkerFunc(ctx, by, id)
}

// Tokens is an api.Tokens made of functions.
type Tokens struct {
	CreateTokenFunc func(context.Context, api.Subject, wire.TokenRequest) (wire.TokenCreated, error)
	TokensFunc      func(context.Context) (wire.TokenList, error)
	DeleteTokenFunc func(context.Context, api.Subject, string) error
}

// CreateToken calls CreateTokenFunc.
func (f *Tokens) CreateToken(ctx context.Context, by api.Subject, in wire.TokenRequest) (wire.TokenCreated, error) {
	if f.CreateTokenFunc == nil {
		return wire.TokenCreated{}, unset("CreateToken")
	}

	return f.CreateTokenFunc(ctx, by, in)
}

// Tokens calls TokensFunc.
func (f *Tokens) Tokens(ctx context.Context) (wire.TokenList, error) {
	if f.TokensFunc == nil {
		return wire.TokenList{}, unset("Tokens")
	}

	return f.TokensFunc(ctx)
}

// DeleteToken calls DeleteTokenFunc.
func (f *Tokens) DeleteToken(ctx context.Context, by api.Subject, id string) error {
	if f.DeleteTokenFunc == nil {
		return unset("DeleteToken")
	}

	return f.DeleteTokenFunc(ctx, by, id)
}

// Secrets is an api.Secrets made of functions.
type Secrets struct {
	SetSecretFunc    func(context.Context, api.Subject, string, wire.SecretRequest) (wire.SecretInfo, error)
	SecretsFunc      func(context.Context) (wire.SecretList, error)
	DeleteSecretFunc func(context.Context, api.Subject, string) error
}

// SetSecret calls SetSecretFunc.
func (f *Secrets) SetSecret(ctx context.Context, by api.Subject, name string, in wire.SecretRequest) (wire.SecretInfo, error) {
	if f.SetSecretFunc == nil {
		return wire.SecretInfo{}, unset("SetSecret")
	}

	return f.SetSecretFunc(ctx, by, name, in)
}

// Secrets calls SecretsFunc.
func (f *Secrets) Secrets(ctx context.Context) (wire.SecretList, error) {
	if f.SecretsFunc == nil {
		return wire.SecretList{}, unset("Secrets")
	}

	return f.SecretsFunc(ctx)
}

// DeleteSecret calls DeleteSecretFunc.
func (f *Secrets) DeleteSecret(ctx context.Context, by api.Subject, name string) error {
	if f.DeleteSecretFunc == nil {
		return unset("DeleteSecret")
	}

	return f.DeleteSecretFunc(ctx, by, name)
}

// SignIns is an api.SignIns made of functions.
type SignIns struct {
	CreateCodeFunc func(context.Context, api.Subject) (wire.SignInCode, error)
	SignInFunc     func(context.Context, string) (wire.SignedIn, error)
	SignOutFunc    func(context.Context, api.Subject) error
}

// CreateCode calls CreateCodeFunc.
func (f *SignIns) CreateCode(ctx context.Context, by api.Subject) (wire.SignInCode, error) {
	if f.CreateCodeFunc == nil {
		return wire.SignInCode{}, unset("CreateCode")
	}

	return f.CreateCodeFunc(ctx, by)
}

// SignIn calls SignInFunc.
func (f *SignIns) SignIn(ctx context.Context, code string) (wire.SignedIn, error) {
	if f.SignInFunc == nil {
		return wire.SignedIn{}, unset("SignIn")
	}

	return f.SignInFunc(ctx, code)
}

// SignOut calls SignOutFunc.
func (f *SignIns) SignOut(ctx context.Context, by api.Subject) error {
	if f.SignOutFunc == nil {
		return unset("SignOut")
	}

	return f.SignOutFunc(ctx, by)
}
