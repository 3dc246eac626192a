# run: succeeded
# rules: 4 s22
# a: succeeded
# b: succeeded
# log b: x
pipeline "result_heredoc" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    script = "printf 'k<<E\nx\ny\nE\n' >> $PIPELINED_OUTPUT"
  }
  module "b" {
    command = ["echo", module.a.result.k]
  }
}
