# run: succeeded
# rules: 3
# a: succeeded
# log a: run_values yes
pipeline "run_values" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    script = "echo ${pipeline.name} $(test ${run.id} = $PIPELINED_RUN_ID && echo yes)"
  }
}
