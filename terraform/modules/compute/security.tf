# Who may talk to whom. Nothing comes in but from the listed networks, and nothing leaves but to
# AWS's endpoints, to the workers, and to the OTLP collector where one is named.

locals {
  task_groups = {
    service = aws_security_group.service.id
    workers = aws_security_group.workers.id
  }

  doors = { for pair in setproduct([local.flight_port, local.http_port], var.client_cidrs) :
    "${pair[0]} from ${pair[1]}" => { port = pair[0], cidr = pair[1] }
  }

  collectors = var.otlp == null ? {} : { for pair in setproduct(keys(local.task_groups), var.otlp.cidr_blocks) :
    "${pair[0]} to ${pair[1]}" => { group = local.task_groups[pair[0]], cidr = pair[1] }
  }
}

resource "aws_security_group" "service" {
  name        = "${var.name}-service"
  description = "The coordinator and its doors"
  vpc_id      = var.vpc_id
}

resource "aws_security_group" "workers" {
  name        = "${var.name}-workers"
  description = "Workers, which run what the coordinator sends"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "doors" {
  for_each = local.doors

  security_group_id = aws_security_group.service.id
  description       = "Clients, ${each.key}"
  cidr_ipv4         = each.value.cidr
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
}

resource "aws_vpc_security_group_ingress_rule" "workers" {
  security_group_id            = aws_security_group.workers.id
  description                  = "Plans from the coordinator"
  referenced_security_group_id = aws_security_group.service.id
  ip_protocol                  = "tcp"
  from_port                    = local.worker_port
  to_port                      = local.worker_port
}

resource "aws_vpc_security_group_egress_rule" "workers" {
  security_group_id            = aws_security_group.service.id
  description                  = "Plans to workers"
  referenced_security_group_id = aws_security_group.workers.id
  ip_protocol                  = "tcp"
  from_port                    = local.worker_port
  to_port                      = local.worker_port
}

resource "aws_vpc_security_group_egress_rule" "s3" {
  for_each = local.task_groups

  security_group_id = each.value
  description       = "S3"
  prefix_list_id    = var.s3_prefix_list_id
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_egress_rule" "endpoints" {
  for_each = local.task_groups

  security_group_id            = each.value
  description                  = "Other services of AWS"
  referenced_security_group_id = var.endpoints_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

# The other end of it: the endpoints take calls from the tasks, and from nothing else.
resource "aws_vpc_security_group_ingress_rule" "endpoints" {
  for_each = local.task_groups

  security_group_id            = var.endpoints_security_group_id
  description                  = "HTTPS from ${each.key}"
  referenced_security_group_id = each.value
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

resource "aws_vpc_security_group_egress_rule" "collectors" {
  for_each = local.collectors

  security_group_id = each.value.group
  description       = "OTLP, ${each.key}"
  cidr_ipv4         = each.value.cidr
  ip_protocol       = "tcp"
  from_port         = var.otlp.port
  to_port           = var.otlp.port
}
