"use strict";
// The page's words in its two languages.
window.JEEVES_TEXTS = {
  en: {
    skip: "Skip to the question", language: "中文", clear: "New conversation",
    welcome: "What would you like to know about Jenkins?",
    intro: "Answers come from the documentation of this installation, with their sources.",
    key: "API key", question: "Your question", placeholder: "Ask about Jenkins …", send: "Ask", stop: "Stop",
    hint: "A small model writes these answers: check the sources before you rely on them.",
    conversation: "Conversation", sources: "Sources", copy: "Copy", copied: "Copied", stopped: "Stopped.",
    needKey: "This gateway asks for an API key: enter it below and ask again.",
    failed: "That did not work: ", broken: "The answer broke off: ",
    unsupported: "not fully supported by the sources",
    rungs: {
      full: "answered from the sources", reduced: "answered without sources", cached: "an earlier answer",
      extractive: "quoted from the sources", unavailable: "no answer now",
    },
    served: (model, documents) => `${model} · ${documents} documents`,
    starting: "The engine is starting; until then answers are quotations.",
    noIndex: "No documents are loaded yet.",
    examples: [
      "How do I use a username and password in a Declarative Pipeline?",
      "What does “No such DSL method” mean?",
      "How do I run stages in parallel?",
      "What should a backup of Jenkins contain?",
    ],
  },
  zh: {
    skip: "跳到提问框", language: "English", clear: "新对话",
    welcome: "关于 Jenkins，您想了解什么？", intro: "回答来自本机的文档，并附有出处。",
    key: "API 密钥", question: "您的问题", placeholder: "请输入关于 Jenkins 的问题……", send: "提问", stop: "停止",
    hint: "回答由小型模型生成，使用前请核对出处。",
    conversation: "对话", sources: "出处", copy: "复制", copied: "已复制", stopped: "已停止。",
    needKey: "此网关需要 API 密钥：请在下方输入后重新提问。",
    failed: "出错了：", broken: "回答中断：", unsupported: "未完全得到出处支持",
    rungs: {
      full: "根据出处回答", reduced: "未使用出处", cached: "此前的回答", extractive: "引自出处", unavailable: "暂时无法回答",
    },
    served: (model, documents) => `${model} · ${documents} 篇文档`,
    starting: "引擎正在启动，此前的回答均为原文引用。", noIndex: "尚未加载文档。",
    examples: [
      "How do I use a username and password in a Declarative Pipeline?",
      "What does “No such DSL method” mean?",
      "How do I run stages in parallel?",
      "What should a backup of Jenkins contain?",
    ],
  },
};
