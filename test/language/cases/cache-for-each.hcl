# run: succeeded
# rules: 8 s23
# list: succeeded
# each[0]: succeeded
# each[1]: cached "result of each[0] of run"
# each[2]: succeeded
# sum: succeeded
# log sum: a a b
pipeline "cache_for_each" {
  workspace {
    exclude = ["**"]
  }
  module "list" {
    script = "echo '{\"words\": [\"a\", \"a\", \"b\"]}' > \"$PIPELINED_OUTPUT\""
  }
  module "each" {
    for_each  = module.list.result.words
    script    = "echo word=${each.value} >> \"$PIPELINED_OUTPUT\""
    cache     = true
    cache_key = [run.id, each.value]
  }
  module "sum" {
    command = ["echo", module.each["0"].result.word, module.each["1"].result.word, module.each["2"].result.word]
  }
}
