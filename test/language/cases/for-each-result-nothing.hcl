# run: succeeded
# rules: 3 s23
# kill
# gen: succeeded
# w: succeeded "no instances: there is nothing to run it for"
# c: succeeded
# log c: 0
pipeline "for_each_result_nothing" {
  workspace {
    exclude = ["**"]
  }
  module "gen" {
    script = <<-S
      echo '{"l": []}' > $PIPELINED_OUTPUT
    S
  }
  module "w" {
    for_each = module.gen.result.l
    command  = ["false"]
  }
  module "c" {
    command = ["echo", tostring(length(module.w))]
  }
}
