# Names for tasks, whose addresses change: service.<namespace>, and workers.<namespace> with one A
# record for each worker, which the coordinator looks up before each epoch.

resource "aws_service_discovery_private_dns_namespace" "this" {
  name        = var.namespace
  description = "Names of the tasks of ${var.name}"
  vpc         = var.vpc_id
}

resource "aws_service_discovery_service" "this" {
  for_each = toset(["service", "workers"])

  name = each.key

  dns_config {
    namespace_id = aws_service_discovery_private_dns_namespace.this.id
    # Up to eight records in an answer, Route 53's limit, hence the most workers that make sense.
    routing_policy = "MULTIVALUE"

    dns_records {
      type = "A"
      ttl  = 10
    }
  }

  # ECS says which tasks are there.
  health_check_custom_config {
    failure_threshold = 1
  }
}
