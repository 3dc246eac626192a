# run: succeeded
# rules: 3 imports
# kill
# count: succeeded
# log count: counting quick
# show: succeeded
# log show: hello all, 3 of them
pipeline "imports" {
  imports = ["lib/steps.hcl"]

  module "count" {
    use    = template.step
    script = <<-SH
      echo "counting $MODE"
      echo "n=3" >> "$PIPELINED_OUTPUT"
    SH
  }

  module "show" {
    use     = template.step
    command = ["echo", local.text]
  }
}
