# run: succeeded
# rules: 4 s22
# a: succeeded
# b: succeeded
# log b: 5 two
pipeline "result_json" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    script = <<-S
      echo '{"n": 4, "l": ["one", "two"]}' > $PIPELINED_OUTPUT
    S
  }
  module "b" {
    command = ["echo", tostring(module.a.result.n + 1), module.a.result.l[1]]
  }
}
