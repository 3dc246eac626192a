package language_test
import ("testing";"os";"context";"encoding/json";"fmt"
"github.com/pipelined/pipelined/pipeline/language"
"github.com/pipelined/pipelined/pipeline")
func TestSmoke(t *testing.T){
 src,_:=os.ReadFile("testdata/first.hcl")
 f,d:=language.Parse("first.hcl",src)
 if len(d)>0{ t.Fatal("\n"+d.Error())}
 p,d:=f.Compile(context.Background(),language.Inputs{Git:pipeline.Git{SHA:"abc"}})
 if len(d)>0{ t.Fatal("\n"+d.Error())}
 b,_:=json.MarshalIndent(p,""," ");fmt.Println(string(b))
 for _,m:=range p.Modules { if len(m.Late)>0 { p.Scope.RunNumber=7; p.Scope.RunID="r1"; e,err:=language.Evaluate(context.Background(),nil,p,m.Name,map[string]language.Upstream{"build":{Status:"succeeded",Result:json.RawMessage(`{"passed":3,"n":"x"}`)}}); fmt.Println(m.Name,e,err)}}
}
