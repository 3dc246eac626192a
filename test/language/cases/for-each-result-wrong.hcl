# run: failed
# rules: 3 s23
# gen: succeeded
# w: failed "expected a list or an object"
pipeline "for_each_result_wrong" {
  workspace {
    exclude = ["**"]
  }
  module "gen" {
    script = "echo l=x >> $PIPELINED_OUTPUT"
  }
  module "w" {
    for_each = module.gen.result.l
    command  = ["true"]
  }
}
