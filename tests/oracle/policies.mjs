// Answers one question a line with @cloud-copilot/iam-simulate: JSON in on stdin, JSON out on stdout.
// A process of its own because the library is under the AGPL; tests/policy_oracle.py speaks to it.
import readline from "node:readline";
import { runSimulation } from "@cloud-copilot/iam-simulate";

const named = (policies, prefix) => policies.map((policy, index) => ({ name: `${prefix}${index}`, policy }));

const answer = async (question) => {
  const found = await runSimulation(
    {
      request: {
        principal: question.principal,
        action: question.action,
        resource: { resource: question.resource, accountId: question.account },
        contextVariables: question.context,
      },
      identityPolicies: named(question.identity, "identity"),
      serviceControlPolicies: [],
      resourceControlPolicies: [],
      sessionPolicy: question.session ?? undefined,
      permissionBoundaryPolicies: question.boundary ? named(question.boundary, "boundary") : undefined,
    },
    {},
  );
  if (found.resultType === "error") return { error: found.errors };
  const denies = ["identityAnalysis", "sessionAnalysis", "permissionBoundaryAnalysis"].flatMap(
    (part) => found.result?.analysis?.[part]?.denyStatements ?? [],
  );
  const allows = found.result?.analysis?.identityAnalysis?.allowStatements ?? [];
  const sids = (statements) => statements.map((one) => one.statement.sid());
  return {
    result: found.overallResult,
    ignored: found.result?.ignoredContextKeys ?? [],
    denies: sids(denies),
    allows: sids(allows),
  };
};

for await (const line of readline.createInterface({ input: process.stdin })) {
  let told;
  try {
    told = await answer(JSON.parse(line));
  } catch (error) {
    told = { error: String(error) };
  }
  process.stdout.write(`${JSON.stringify(told)}\n`);
}
