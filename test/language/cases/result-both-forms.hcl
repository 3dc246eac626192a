# run: failed
# rules: 4 s22
# a: failed
pipeline "result_both_forms" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    script = <<-S
      echo '{"a": 1}' >> $PIPELINED_OUTPUT
      echo b=2 >> $PIPELINED_OUTPUT
    S
  }
}
